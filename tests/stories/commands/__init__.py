"""Stories of what operators ask for: status, history, copies brought back, lost rows restored."""
