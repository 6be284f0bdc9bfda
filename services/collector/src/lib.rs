//! The collector: reads machines over their own protocols, and puts what it read into the log.
