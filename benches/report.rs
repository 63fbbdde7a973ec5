//! What a bench found: a table on the screen, and `target/bench/<name>.json` with the facts of the machine.

use std::{fs, path::Path};

use serde_json::{Map, Value, json};

use crate::Done;

/// A named value with its unit in the name.
pub(crate) type Field = (&'static str, f64);

/// The findings of one bench.
pub(crate) struct Report {
    name: &'static str,
    floors: Map<String, Value>,
    series: Vec<Value>,
    columns: Vec<&'static str>,
}

impl Report {
    pub(crate) fn new(name: &'static str) -> Self {
        println!("\n{name}");
        Self { name, floors: Map::new(), series: Vec::new(), columns: Vec::new() }
    }

    /// Notes a floor that was measured in this run.
    pub(crate) fn floor(&mut self, (name, value): Field) {
        println!("  {name} = {}", shown(value));
        self.floors.insert(name.to_owned(), number(value));
    }

    /// Shows and notes one line of the table.
    pub(crate) fn row(&mut self, series: &str, fields: &[Field]) {
        let columns: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
        if columns != self.columns {
            println!(
                "  {:24}{}",
                "",
                columns.iter().map(|name| format!("{name:>18}")).collect::<Vec<_>>().concat()
            );
            self.columns = columns;
        }
        println!(
            "  {series:24}{}",
            fields.iter().map(|(_, value)| format!("{:>18}", shown(*value))).collect::<Vec<_>>().concat()
        );
        let mut found = Map::from_iter([("series".to_owned(), json!(series))]);
        found.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), number(*value))));
        self.series.push(Value::Object(found));
    }

    /// Writes the file.
    pub(crate) fn write(self) -> Done {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench");
        fs::create_dir_all(&folder)?;
        let report = json!({
            "bench": self.name, "machine": machine()?, "floors": self.floors, "series": self.series,
        });
        fs::write(
            folder.join(self.name).with_extension("json"),
            serde_json::to_string_pretty(&report)? + "\n",
        )?;
        Ok(())
    }
}

/// Four digits are more than a noisy machine can repeat.
fn number(value: f64) -> Value {
    if value == 0.0 || !value.is_finite() {
        return json!(value);
    }
    let rounded: f64 = format!("{value:.3e}").parse().unwrap_or(value);
    json!(rounded)
}

fn shown(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// What of the machine the figures depend on.
fn machine() -> Done<Value> {
    let line = |file: &str, name: &str| -> Done<String> {
        let text = fs::read_to_string(file)?;
        let value = text.lines().find_map(|line| line.strip_prefix(name));
        Ok(value.unwrap_or_default().trim_start_matches([' ', '\t', ':']).to_owned())
    };
    let profile = Path::new(env!("CARGO_BIN_EXE_cendriix")).parent().and_then(Path::file_name);
    Ok(json!({
        "cores": std::thread::available_parallelism()?.get(),
        "processor": line("/proc/cpuinfo", "model name")?,
        "memory": line("/proc/meminfo", "MemTotal")?,
        "kernel": line("/proc/sys/kernel/osrelease", "")?,
        "profile": profile.map(|profile| profile.to_string_lossy().into_owned()),
    }))
}
