"""The command ``course``, also as ``python -m course_utils``; without its tools it says what to install."""

try:
    from course_utils.tools.cli import main
except ModuleNotFoundError as error:
    raise SystemExit(f'course: {error}; in the folder of the course: pip install -e ".[tools]"') from None

if __name__ == "__main__":
    main(prog_name="course")
