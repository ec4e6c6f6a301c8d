"""What two services must agree on, and the edge plumbing both use."""
