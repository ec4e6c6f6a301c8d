"""Kafka in: schedule, lease, call, price, complete."""
