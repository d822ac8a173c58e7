"""The registry component: Avro schemas by event URI, cached, checked for compatibility, and applied to bodies."""
