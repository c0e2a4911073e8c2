"""Checks of bodies before they are sent: the error names the field and the cure."""
