"""What several tests share: records, plans, checkpoints and stores, made or recorded.

agreement   what ``inspect`` says, held against what the matrix recorded
builders    records, cells and reports, built by hand
formats     checkpoints in the formats of frameworks, made from what releases saved
objects     an S3 server on loopback that refuses and holds requests on demand
running     runs of real release code into a store of its own
synthetic   stores of any size, filled with copies of recorded evidence
writers     a program: eight processes that write one store
"""
