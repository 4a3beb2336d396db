"""Fast tests that need neither root nor a kernel; they mirror the packages."""
