"""The plan as Pulumi resources: one component per file. Nothing is decided here; everything comes from the plan."""
