"""How each kind of VMA is made: one function a kind, one module a family.

Importing a module enters its recipes in the table.
"""

from forktrace.kinds.mapping import Kind
from forktrace.kinds.recipes import devices, guards, memory, never, uffd
from forktrace.kinds.recipes.recipe import RECIPES, Made, Recipe

__all__ = [
    "KINDS",
    "RECIPES",
    "Made",
    "Recipe",
    "devices",
    "guards",
    "memory",
    "never",
    "uffd",
]

KINDS: tuple[Kind, ...] = tuple(kind for kind, _ in RECIPES.values())
"""Every kind there is, in the order in which they are made."""
