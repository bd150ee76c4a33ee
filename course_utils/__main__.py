"""Lets ``python -m course_utils`` do what the command ``course`` does."""

from course_utils.tools.cli import main

if __name__ == "__main__":
    main(prog_name="course")
