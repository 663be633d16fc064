"""Gets a Report to the coordinator: signed, posted, and on disk where posting takes longer."""
