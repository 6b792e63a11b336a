"""What runs on an instance: rendered from a plan, deciding nothing."""
