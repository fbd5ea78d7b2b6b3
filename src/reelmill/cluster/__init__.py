"""A cluster on one machine, without containers: PostgreSQL, Valkey and SeaweedFS from wheels, API and workers.

    parts.py     how each part is started, and how one sees that it works
    cluster.py   all parts of one folder: up, down, what runs

Every process is remembered by its id and its start time: an id that the system has given to another is never touched.
"""

from reelmill.cluster.cluster import Cluster, Running

__all__ = ["Cluster", "Running"]
