"""Evidence: the records of saves and loads, their keys, and where they are kept.

records: types of the records
keys: digests that identify what was measured
store: a store in a folder or at a URL
archive: a file of exported records, with header and footer
recorded: evidence that ships with the package
derived: files beside it that are derived from it
"""
