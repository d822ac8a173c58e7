"""`make bench`: how fast the whole bus is on this machine, beside a bare loop of the same run."""
