pub mod config_map;
