"""A request from door to door: what declares, guards, validates, shapes, limits and documents the operations."""
