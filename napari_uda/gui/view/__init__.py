"""The View dock: window and level, sides of the patient, linked cuts, what lies under the cursor."""
