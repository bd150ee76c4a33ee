"""What runs the course: the command ``course`` and its parts; no notebook imports anything from here.

Modules here import PyTorch only inside functions, so that ``course doctor`` works where PyTorch does not.
"""
