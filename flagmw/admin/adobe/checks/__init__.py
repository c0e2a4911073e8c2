"""Checks of bodies before they are sent."""
