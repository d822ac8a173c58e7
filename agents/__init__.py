"""The Faust side of Certes: the agents and what they stand on."""
