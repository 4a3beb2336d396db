"""A stack to try: real forks, forktrace, a real Prometheus with all rules loaded."""
