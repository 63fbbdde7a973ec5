//! The engine on real files and on backends that fail.
