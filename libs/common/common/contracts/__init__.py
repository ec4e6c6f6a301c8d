"""What travels between services. Within a version only optional fields are added; a break is a new module and topic."""
