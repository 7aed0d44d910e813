"""Person boxes for pictures and videos without labels: box files, finding people, tracks."""
