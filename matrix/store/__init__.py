"""What was observed: records, the keys they are kept under, and where they are kept.

records: the types of records
keys: the digests that records are kept under
store: a store on a file system or at a URL
archive: a store exported as one file
recorded: the evidence that ships with the package
"""
