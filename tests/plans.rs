//! No statement of rreg walks a table that grows with the store: the planners of both databases are asked about every
//! one. The statements are read from the sources of `rreg-storage`, which has all of them, so that a new one cannot be
//! forgotten; what may walk is named below with its reason.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use proc_macro2::{TokenStream, TokenTree};
use sqlx::{Connection as _, Executor as _, Row as _};

use crate::harness::Registry;

on_each_backend!(no_statement_walks_a_table_that_grows);

/// Tables that stay as small as what administrators write by hand, or have a limit of their own.
const SMALL: &[&str] = &[
    "bootstrap",
    "policies",
    "policy_history",
    "policies_version",
    "signing_keys",
    "tag_rules",
    "tag_rules_version",
    "trust_material",
    "upstream_tag_lists",
    "_sqlx_migrations",
];

/// What may walk a table or sort what it found: the beginning of the statement, and why.
const ALLOWED: &[(&str, &str)] = &[
    ("SELECT object_key, size FROM blob_segments ORDER BY blob_id DESC LIMIT $1", "the last few"),
    (
        "SELECT id, at, actor, event, outcome, rule, COALESCE(repository, ''), COALESCE(target, ''), \
      COALESCE(address, ''), COALESCE(request_id, '') FROM audit_events ORDER BY id DESC LIMIT $1",
        "a page from its end",
    ),
    (
        "SELECT o.name, COALESCE(m.principal, ''), COALESCE(m.role, '') FROM organisations o",
        "an operator's list of them all",
    ),
    ("SELECT id, changed_at FROM tag_history ORDER BY id LIMIT $1", "the first few"),
    ("SELECT 1 WHERE EXISTS (SELECT 1 FROM blobs)", "the first row is the answer"),
    (
        "WITH RECURSIVE above(id) AS (SELECT m.id FROM repositories r CROSS JOIN manifests m WHERE r.name = $1 \
      AND m.repository_id = r.id AND m.digest = $2 UNION SELECT mc.manifest_id",
        "sorts the indexes that hold one manifest, which are few",
    ),
    (
        "SELECT r.name, m.digest, j.attempts, COALESCE(j.error,",
        "reads an index of those that have been tried only",
    ),
    ("SELECT (SELECT COUNT(*) FROM manifests)", "an administrator's question about the whole store"),
];

struct Statement {
    file: String,
    text: String,
}

impl Statement {
    fn allowed(&self) -> bool {
        ALLOWED.iter().any(|(start, _)| self.text.starts_with(start))
    }
}

async fn no_statement_walks_a_table_that_grows(registry: Registry) {
    let statements = statements();
    assert!(statements.len() > 150, "only {} statements were found", statements.len());
    sqlx::any::install_default_drivers();
    let mut conn = sqlx::AnyConnection::connect(&registry.database_url()).await.unwrap();
    let postgres = registry.is_shareable();
    if postgres {
        // A table that is empty is walked whatever the indexes: forbidden, so that a walk is left only where no index
        // can serve. And the plan is to be for any value.
        conn.execute(
            "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off; \
             SET enable_mergejoin = off; SET plan_cache_mode = force_generic_plan",
        )
        .await
        .unwrap();
    }
    let (mut bad, mut used) = (Vec::new(), vec![false; ALLOWED.len()]);
    for statement in &statements {
        let plan = plan(&mut conn, postgres, statement).await;
        let walks: Vec<_> = if postgres {
            (0..plan.len()).filter(|i| walks_postgres(&plan[*i..])).map(|i| &plan[i]).collect()
        } else {
            plan.iter().filter(|line| walks_sqlite(line, &statement.text)).collect()
        };
        if walks.is_empty() {
            continue;
        }
        if statement.allowed() {
            for (i, (start, _)) in ALLOWED.iter().enumerate() {
                used[i] |= statement.text.starts_with(start);
            }
            continue;
        }
        bad.push(format!("{}: {}\n      {walks:?}", statement.file, statement.text));
    }
    assert!(bad.is_empty(), "{} statements walk a table that grows:\n  {}", bad.len(), bad.join("\n  "));
    if !postgres {
        let stale: Vec<_> = ALLOWED.iter().zip(used).filter(|(_, used)| !used).collect();
        assert!(stale.is_empty(), "nothing walks here any more: {stale:?}");
    }
}

/// The planner's answer, a line a step.
async fn plan(conn: &mut sqlx::AnyConnection, postgres: bool, statement: &Statement) -> Vec<String> {
    let Statement { file, text } = statement;
    let fail = |error: sqlx::Error| -> Vec<sqlx::any::AnyRow> { panic!("{file}: {text}\n{error}") };
    if !postgres {
        // Only PostgreSQL is told to lock a row; the rest of the statement is the same.
        let text = text.trim_end_matches(" FOR SHARE").trim_end_matches(" FOR UPDATE");
        let sql = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {text}"));
        let rows = sqlx::raw_sql(sql).fetch_all(conn).await.unwrap_or_else(fail);
        return rows.iter().map(|row| row.get::<String, _>(3)).collect();
    }
    let parameters = (1..100).take_while(|n| text.contains(&format!("${n}"))).count();
    let values = vec!["NULL"; parameters].join(", ");
    let values = if values.is_empty() { values } else { format!("({values})") };
    conn.execute(sqlx::AssertSqlSafe(format!("PREPARE asked AS {text}")))
        .await
        .map(|_| Vec::new())
        .unwrap_or_else(fail);
    let sql = sqlx::AssertSqlSafe(format!("EXPLAIN EXECUTE asked{values}"));
    let rows = sqlx::raw_sql(sql).fetch_all(&mut *conn).await.unwrap_or_else(fail);
    conn.execute("DEALLOCATE asked").await.unwrap();
    rows.iter().map(|row| row.get::<String, _>(0)).collect()
}

/// `SCAN m`, `SCAN manifests USING COVERING INDEX …`; a search by index is `SEARCH`. To sort is to walk where only a page
/// of what is sorted is asked for.
fn walks_sqlite(line: &str, text: &str) -> bool {
    let Some(name) = line.strip_prefix("SCAN ").and_then(|rest| rest.split(' ').next()) else {
        return line.starts_with("USE TEMP B-TREE FOR ORDER BY") && text.contains(" LIMIT ");
    };
    table_of(name, text).is_some_and(|table| !SMALL.contains(&table.as_str()))
}

/// `Seq Scan on manifests m  (cost=…)`, or `Index Scan using … on manifests m  (cost=…)` without an `Index Cond` in the
/// lines of that step.
fn walks_postgres(plan: &[String]) -> bool {
    let Some((step, rest)) = plan[0].split_once(" on ") else { return false };
    let table = rest.split([' ', '(']).next().unwrap_or_default();
    if !step.contains("Scan") || !tables().contains(&table.to_owned()) || SMALL.contains(&table) {
        return false;
    }
    let details = plan[1..].iter().take_while(|line| !line.contains("->"));
    step.contains("Seq Scan") || !details.into_iter().any(|line| line.contains("Index Cond"))
}

/// The table that a statement calls so. `None`: a part of the statement itself.
fn table_of(name: &str, text: &str) -> Option<String> {
    let tables = tables();
    if tables.iter().any(|table| table == name) {
        return Some(name.to_owned());
    }
    let words: Vec<&str> =
        text.split([' ', ',', '(', ')']).filter(|word| !word.is_empty() && *word != "AS").collect();
    words
        .windows(2)
        .find(|pair| pair[1] == name && tables.iter().any(|table| table == pair[0]))
        .map(|pair| pair[0].to_owned())
}

/// Every table of the migrations.
fn tables() -> Vec<String> {
    let mut found = vec!["_sqlx_migrations".to_owned()];
    for file in fs::read_dir(root().join("migrations")).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        let names = text.split("CREATE TABLE ").skip(1).filter_map(|rest| rest.split([' ', '(']).next());
        found.extend(names.map(str::to_owned));
    }
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every string of the storage's sources that is a statement, with its constants filled in.
fn statements() -> Vec<Statement> {
    let mut files = Vec::new();
    sources(&root().join("storage/src"), &mut files);
    files.sort();
    let mut constants = BTreeMap::new();
    let mut strings = Vec::new();
    for file in &files {
        let text = fs::read_to_string(file).unwrap();
        let stream = TokenStream::from_str(&text).unwrap();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        read(stream, &name, &mut constants, &mut strings);
    }
    let mut found = Vec::new();
    for (file, text) in strings {
        let text = filled(&file, &text, &constants);
        let first = text.split(' ').next().unwrap_or_default();
        let is_statement =
            matches!(first, "SELECT" | "INSERT" | "UPDATE" | "DELETE" | "WITH") && text.contains(' ');
        // A part of others, which are asked about whole.
        let is_part = constants.values().any(|value| *value == text);
        if is_statement && !is_part {
            found.push(Statement { file, text });
        }
    }
    found
}

fn sources(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" {
            sources(&path, files);
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            files.push(path);
        }
    }
}

fn read(
    stream: TokenStream,
    file: &str,
    constants: &mut BTreeMap<(String, String), String>,
    strings: &mut Vec<(String, String)>,
) {
    let mut constant = None;
    let mut before = None;
    for token in stream {
        match token {
            TokenTree::Ident(ident) => {
                let ident = ident.to_string();
                if before.replace(ident.clone()).is_some_and(|before| before == "const") {
                    constant = Some(ident);
                }
            }
            TokenTree::Punct(punct) if punct.as_char() == ';' => constant = None,
            TokenTree::Literal(literal) => {
                let Ok(text) = syn::parse_str::<syn::LitStr>(&literal.to_string()) else { continue };
                if let Some(name) = constant.take() {
                    constants.insert((file.to_owned(), name), text.value());
                }
                strings.push((file.to_owned(), text.value()));
            }
            TokenTree::Group(group) => read(group.stream(), file, constants, strings),
            TokenTree::Punct(_) => {}
        }
    }
}

/// `{NAME}` is a constant of the same file or of another, `VALUES {}` rows, `{}` a list of values, `{lock}` PostgreSQL's
/// lock.
fn filled(file: &str, text: &str, constants: &BTreeMap<(String, String), String>) -> String {
    let columns = text.split_once(") VALUES {}").map(|(head, _)| head.matches(',').count() + 1);
    let row = (1..=columns.unwrap_or(0)).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ");
    let text = text.replace("VALUES {}", &format!("VALUES ({row})"));
    let next = (1..).find(|n| !text.contains(&format!("${n}"))).unwrap_or(1);
    let mut text = text.replace("{}", &format!("${next}")).replace("{lock}", "");
    for here in [true, false] {
        for ((from, name), value) in constants {
            if (from == file) == here {
                text = text.replace(&format!("{{{name}}}"), value);
            }
        }
    }
    text
}
