"""The local stack: real Kafka and a real registry on one machine, for `certes dev` and for tests."""
