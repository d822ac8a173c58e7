"""The Kafka contracts: Avro schemas of Certes' own records, and reading and writing them."""
