//! Lists of tables, such as `[[upstreams]]`. A list has no path per field, so it is one setting: an array of tables in
//! the file, the same array as TOML text in the environment. Each table is a section.

use toml::{Table, Value};

use super::section::{Node, Section};

/// Reads an array of tables, or nothing from an empty text. `parse` reads one of them.
pub(super) fn entries<T>(
    value: &Value,
    parse: impl Fn(&Table) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let Value::Array(entries) = value else { return Err(format!("is of type {}", value.type_str())) };
    let read = entries.iter().enumerate().map(|(index, entry)| {
        let parsed = entry.as_table().ok_or("is not a table".to_owned()).and_then(&parse);
        parsed.map_err(|why| format!("entry {index}: {why}"))
    });
    read.collect()
}

/// The array that a variable holds as text.
pub(super) fn array_of(text: &str) -> Result<Value, String> {
    if text.trim().is_empty() {
        return Ok(Value::Array(Vec::new()));
    }
    // The parser's message is left out: it could quote a password.
    let table: Table = format!("list = {text}").parse().map_err(|_| "is not a TOML array".to_owned())?;
    match table.get("list") {
        Some(array @ Value::Array(_)) if table.len() == 1 => Ok(array.clone()),
        _ => Err("is not a TOML array".into()),
    }
}

/// Sets the fields of `section`, which is `what`, as `table` says.
pub(super) fn assign(section: &mut dyn Section, table: &Table, what: &str) -> Result<(), String> {
    for (key, value) in table {
        let mut outcome = None;
        section.walk("", &mut |node| {
            if let Node::Field { path, value: field, .. } = node
                && path == key
            {
                outcome = Some(field.assign(value).map_err(|why| (why, field.allowed())));
            }
        });
        match outcome {
            Some(Ok(())) => {}
            Some(Err((why, allowed))) => return Err(format!("{key} {why} (allowed: {allowed})")),
            None => return Err(format!("{key} is not a field of {what} (see rreg config reference)")),
        }
    }
    Ok(())
}

/// The fields that are set, secrets masked.
pub(super) fn shown(section: &mut dyn Section) -> Value {
    let mut table = Table::new();
    section.walk("", &mut |node| {
        if let Node::Field { path, value, .. } = node
            && let Some(shown) = value.show()
        {
            table.insert(path.to_owned(), shown);
        }
    });
    Value::Table(table)
}
