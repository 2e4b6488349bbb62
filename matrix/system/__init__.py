"""The machine that the harness runs on: files, folders, processes, progress.

cleanup: temporary files, and the removal of those that a killed process left
collector: pausing the garbage collector
counting: numbers of things as text
digests: SHA-256 of files and folders
progress: the interface by which long work reports its progress
sharing: objects that read through one which many of them share
shipped: folders that ship with the package
unpacking: tar archives unpacked so that nothing leaves the folder
"""
