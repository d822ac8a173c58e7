"""The Event Gateway: the one public face. Takes events in over HTTP and passes the Master API on to a worker."""
