"""Kafka in, ClickHouse; every question about runs and money."""
