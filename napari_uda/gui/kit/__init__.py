"""What the docks are made of: panels and their slots, jobs, widgets, layers, geometry and files."""
