"""The doctor: what is wrong with this machine, or with the hosts of a cluster, before a run finds out.

    python -m launch doctor [--hosts FILE] [--shards DIR]

A file a subject; every check answers within a time, and one that crashes is a line of the table like any other.
"""
