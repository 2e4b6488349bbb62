"""What the harness needs of the machine it runs on.

cleanup: temporary files, and the removal of those that a killed process left
collector: the garbage collector paused
digests: digests of files and folders
shipped: folders that ship with the package
progress: how a run reports what it is doing
"""
