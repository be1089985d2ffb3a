"""Mistakes in recipes that use containers; docs/lint.md has every rule."""
