"""Results as pictures, tables and pages. Everything here takes plain data; nothing here trains or evaluates."""
