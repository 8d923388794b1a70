"""The way to Redis: one server, Sentinel or Cluster, with deadlines. Knows no key."""
