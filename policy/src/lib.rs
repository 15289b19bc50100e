//! The one judge: rules of a signed bundle over readings and wanted actions, explained and replayable.
