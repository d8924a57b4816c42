"""Reports: what a run found, for people and for programs. Reads verdicts and traces, drives nothing."""
