//! Groups of archives that do not say theirs: what Maven Central has under these names.

/// Names, or how they begin (`*`), and their group; the first that fits counts.
const KNOWN: [(&str, &str); 47] = [
    ("asm", "org.ow2.asm"),
    ("asm-*", "org.ow2.asm"),
    ("bcmail-*", "org.bouncycastle"),
    ("bcpg-*", "org.bouncycastle"),
    ("bcpkix-*", "org.bouncycastle"),
    ("bcprov-*", "org.bouncycastle"),
    ("bctls-*", "org.bouncycastle"),
    ("bcutil-*", "org.bouncycastle"),
    ("annotations", "org.jetbrains"),
    ("kotlin-*", "org.jetbrains.kotlin"),
    ("kotlinx-*", "org.jetbrains.kotlinx"),
    ("okhttp", "com.squareup.okhttp3"),
    ("okhttp-*", "com.squareup.okhttp3"),
    ("logging-interceptor", "com.squareup.okhttp3"),
    ("okio", "com.squareup.okio"),
    ("okio-*", "com.squareup.okio"),
    ("retrofit", "com.squareup.retrofit2"),
    ("ojdbc*", "com.oracle.database.jdbc"),
    ("mssql-jdbc", "com.microsoft.sqlserver"),
    ("scala-*", "org.scala-lang"),
    ("spring-amqp", "org.springframework.amqp"),
    ("spring-rabbit*", "org.springframework.amqp"),
    ("spring-batch-*", "org.springframework.batch"),
    ("spring-boot", "org.springframework.boot"),
    ("spring-boot-*", "org.springframework.boot"),
    ("spring-cloud-*", "org.springframework.cloud"),
    ("spring-data-*", "org.springframework.data"),
    ("spring-graphql", "org.springframework.graphql"),
    ("spring-hateoas", "org.springframework.hateoas"),
    ("spring-integration-*", "org.springframework.integration"),
    ("spring-kafka*", "org.springframework.kafka"),
    ("spring-ldap-*", "org.springframework.ldap"),
    ("spring-plugin-*", "org.springframework.plugin"),
    ("spring-retry", "org.springframework.retry"),
    ("spring-security-*", "org.springframework.security"),
    ("spring-session-*", "org.springframework.session"),
    ("spring-vault-*", "org.springframework.vault"),
    ("spring-webflow", "org.springframework.webflow"),
    ("spring-ws-*", "org.springframework.ws"),
    ("spring-xml", "org.springframework.ws"),
    ("spring-*", "org.springframework"),
    ("tomcat-embed-*", "org.apache.tomcat.embed"),
    ("tomcat-*", "org.apache.tomcat"),
    ("jakarta.servlet-api", "jakarta.servlet"),
    ("javax.servlet-api", "javax.servlet"),
    ("servlet-api", "javax.servlet"),
    ("jsp-api", "javax.servlet.jsp"),
];
/// Where neither the table nor the archive says it.
const ELSE: [(&str, &str); 3] =
    [("groovy", "org.codehaus.groovy"), ("groovy-*", "org.codehaus.groovy"), ("junit", "junit")];
/// Groups of groups: what is right below one is a group itself, even if an artifact has its name.
const UMBRELLAS: [&str; 16] = [
    "com.amazonaws",
    "com.github",
    "com.google",
    "com.ibm",
    "com.microsoft",
    "com.oracle",
    "com.sun",
    "io.github",
    "jakarta",
    "javax",
    "net.java",
    "org.apache",
    "org.codehaus",
    "org.eclipse",
    "org.glassfish",
    "org.jboss",
];
/// Top-level names that groups begin with, besides those of countries.
const TOP: [&str; 12] =
    ["com", "org", "net", "info", "edu", "gov", "dev", "app", "cloud", "tech", "jakarta", "javax"];

pub(super) fn known(name: &str) -> Option<&'static str> {
    find(&KNOWN, name)
}

pub(super) fn otherwise(name: &str) -> Option<&'static str> {
    find(&ELSE, name)
}

fn find(table: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
    let fits = |pattern: &str| match pattern.strip_suffix('*') {
        Some(begin) => name.starts_with(begin),
        None => name == pattern,
    };
    table.iter().find(|(pattern, _)| fits(pattern)).map(|(_, group)| *group)
}

/// The group in a dotted name of an artifact: bundles and modules are called `GROUP.ARTIFACT`, the artifact without
/// what it has of the group's end, or only `GROUP` where the artifact is called like its end.
pub(super) fn of_dotted(dotted: &str, name: &str) -> Option<String> {
    let (first, _) = dotted.split_once('.')?;
    let top = TOP.contains(&first) || first.len() == 2 && first.bytes().all(|byte| byte.is_ascii_lowercase());
    if !top || !super::manifest::is_name(dotted) {
        return None;
    }
    let (parents, last) = dotted.rsplit_once('.')?;
    let strip = name.ends_with(last) && parents.contains('.') && !UMBRELLAS.contains(&parents);
    Some(if strip { parents } else { dotted }.to_owned())
}

/// Whether the artifact's name ends a dotted name, so that what is in front of it is a group for sure.
pub(super) fn ends_with_name(dotted: &str, name: &str) -> bool {
    dotted.rsplit_once('.').is_some_and(|(_, last)| name.ends_with(last))
}
