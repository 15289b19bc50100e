//! The contract a remediation agent speaks.
