//! Java archives: what each is called, as Maven Central has it.

use super::{build, kinds, purls, scan_file, scan_within};
use crate::{FindingKind, Limits};

/// A file, its manifest, its classes, and its name. The manifests are those of the archives, without what says nothing.
const ARCHIVES: [(&str, &str, &[&str], &str); 26] = [
    (
        "spring-core-6.1.14.jar",
        "Implementation-Title: spring-core\nImplementation-Version: 6.1.14\nAutomatic-Module-Name: spring.core\n",
        &["org/springframework/core/A", "org/springframework/util/B"],
        "org.springframework/spring-core@6.1.14",
    ),
    (
        "spring-boot-3.3.5.jar",
        "Implementation-Title: Spring Boot\n",
        &[],
        "org.springframework.boot/spring-boot@3.3.5",
    ),
    (
        "tomcat-catalina-10.1.31.jar",
        "Bundle-Name: tomcat-catalina\nBundle-SymbolicName: org.apache.tomcat-catalina\nBundle-Version: 10.1.31\n",
        &["org/apache/catalina/A", "org/apache/naming/B"],
        "org.apache.tomcat/tomcat-catalina@10.1.31",
    ),
    (
        "catalina.jar",
        "Bundle-Name: tomcat-catalina\nBundle-SymbolicName: org.apache.tomcat-catalina\nBundle-Version: 10.1.31\n",
        &[],
        "org.apache.tomcat/tomcat-catalina@10.1.31",
    ),
    ("tomcat-embed-core-10.1.31.jar", "", &[], "org.apache.tomcat.embed/tomcat-embed-core@10.1.31"),
    (
        "h2-2.2.224.jar",
        "Implementation-Title: H2 Database Engine\nAutomatic-Module-Name: com.h2database\nBundle-SymbolicName: com.h2database\n",
        &["org/h2/A"],
        "com.h2database/h2@2.2.224",
    ),
    (
        "kotlin-stdlib-1.9.25.jar",
        "Implementation-Title: kotlin-stdlib\nImplementation-Version: 1.9.25-release-852\n",
        &["kotlin/A"],
        "org.jetbrains.kotlin/kotlin-stdlib@1.9.25",
    ),
    ("asm-9.7.1.jar", "Bundle-SymbolicName: org.objectweb.asm\n", &[], "org.ow2.asm/asm@9.7.1"),
    (
        "aspectjweaver-1.9.22.jar",
        "Automatic-Module-Name: org.aspectj.weaver\n",
        &[],
        "org.aspectj/aspectjweaver@1.9.22",
    ),
    (
        "elasticsearch-8.15.3.jar",
        "Implementation-Title: org.elasticsearch#server;8.15.3\n",
        &[],
        "org.elasticsearch/elasticsearch@8.15.3",
    ),
    (
        "micrometer-core.jar",
        "Implementation-Title: io.micrometer#micrometer-core;1.13.6\nImplementation-Version: 1.13.6\n",
        &[],
        "io.micrometer/micrometer-core@1.13.6",
    ),
    (
        "groovy-4.0.23.jar",
        "Automatic-Module-Name: org.apache.groovy\nBundle-SymbolicName: groovy\n",
        &[],
        "org.apache.groovy/groovy@4.0.23",
    ),
    (
        "groovy-all-2.4.21.jar",
        "Bundle-SymbolicName: groovy-all\n",
        &["groovy/A"],
        "org.codehaus.groovy/groovy-all@2.4.21",
    ),
    (
        "hibernate-core-6.6.1.Final.jar",
        "Bundle-SymbolicName: org.hibernate.orm.core\nImplementation-Vendor-Id: org.hibernate\n",
        &[],
        "org.hibernate.orm/hibernate-core@6.6.1.Final",
    ),
    (
        "kafka-clients-3.8.0.jar",
        "",
        &["org/apache/kafka/clients/A", "org/apache/kafka/common/B"],
        "org.apache.kafka/kafka-clients@3.8.0",
    ),
    (
        "mockito-core-5.14.2.jar",
        "Bundle-SymbolicName: org.mockito.mockito-core\nAutomatic-Module-Name: org.mockito\n",
        &[],
        "org.mockito/mockito-core@5.14.2",
    ),
    (
        "mysql-connector-j-9.1.0.jar",
        "Implementation-Title: MySQL Connector/J\nImplementation-Vendor-Id: com.mysql\nBundle-SymbolicName: com.mysql.cj\n",
        &[],
        "com.mysql/mysql-connector-j@9.1.0",
    ),
    (
        "okhttp-4.12.0.jar",
        "Automatic-Module-Name: okhttp3\n",
        &["okhttp3/A"],
        "com.squareup.okhttp3/okhttp@4.12.0",
    ),
    (
        "postgresql-42.7.4.jar",
        "Bundle-SymbolicName: org.postgresql.jdbc\nImplementation-Vendor-Id: org.postgresql\n",
        &[],
        "org.postgresql/postgresql@42.7.4",
    ),
    (
        "reactor-core-3.6.11.jar",
        "Automatic-Module-Name: reactor.core\nBundle-SymbolicName: io.projectreactor.reactor-core\n",
        &[],
        "io.projectreactor/reactor-core@3.6.11",
    ),
    (
        "renamed.jar",
        "Bundle-SymbolicName: org.scala-lang.scala-library;singleton:=true\nBundle-Version: 2.13.15\n",
        &[],
        "org.scala-lang/scala-library@2.13.15",
    ),
    (
        "junit-4.13.2.jar",
        "Implementation-Vendor-Id: junit\nAutomatic-Module-Name: junit\n",
        &["org/junit/A", "junit/B"],
        "junit/junit@4.13.2",
    ),
    (
        "bcprov-jdk18on-1.78.1.jar",
        "Bundle-SymbolicName: bcprov\n",
        &["org/bouncycastle/asn1/A"],
        "org.bouncycastle/bcprov-jdk18on@1.78.1",
    ),
    (
        "epoll-4.1.1.Final-linux-x86_64.jar",
        "Bundle-SymbolicName: io.netty.epoll\nImplementation-Version: 4.1.1.Final\n",
        &[],
        "io.netty/epoll@4.1.1.Final",
    ),
    (
        "org.eclipse.osgi_3.16.0.jar",
        "Bundle-SymbolicName: org.eclipse.osgi; singleton:=true\n",
        &[],
        "org.eclipse.osgi/org.eclipse.osgi@3.16.0",
    ),
    (
        "git.hpi",
        "Group-Id: org.jenkins-ci.plugins\nShort-Name: git\nPlugin-Version: 5.5.2\n",
        &[],
        "org.jenkins-ci.plugins/git@5.5.2",
    ),
];

#[test]
fn popular_archives_without_mavens_files() {
    for (file, manifest, classes, expected) in ARCHIVES {
        let manifest = format!("Manifest-Version: 1.0\n{manifest}\n");
        let classes: Vec<String> = classes.iter().map(|class| format!("{class}.class")).collect();
        let mut entries = vec![("META-INF/MANIFEST.MF", manifest.as_bytes())];
        entries.extend(classes.iter().map(|class| (class.as_str(), b"".as_slice())));
        let sbom = scan_file(&format!("lib/{file}"), &build::zip(&entries));
        assert_eq!(purls(&sbom), [format!("pkg:maven/{expected}")], "{file}");
    }
}

#[test]
fn sections_of_entries_say_it_too() {
    let manifest = "Manifest-Version: 1.0\r\nCreated-By: x\r\n\r\nName: common\r\nSpecification-Title: JDBC\r\n\
        Implementation-Version: 5.1.49\r\nImplementation-Vendor-Id: com.my\r\n sql\r\n";
    let mut long = format!("{manifest}\r\n");
    while long.len() < 3 << 20 {
        long.push_str("Name: some/long/entry.class\r\nSHA-256-Digest: 47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\r\n\r\n");
    }
    for manifest in [manifest, &long] {
        let archive = build::zip(&[("META-INF/MANIFEST.MF", manifest.as_bytes())]);
        let sbom = scan_file("mysql-connector-java.jar", &archive);
        assert_eq!(
            (purls(&sbom), kinds(&sbom)),
            (vec!["pkg:maven/com.mysql/mysql-connector-java@5.1.49"], vec![])
        );
    }
}

#[test]
fn mavens_files() {
    const DIRECTORY: &str = "META-INF/maven/org.example/lib";
    let xml = |body: &str| {
        format!(
            "<?xml version=\"1.0\"?><!-- <version>0</version> --><project xmlns=\"x\">{body}\
            <dependencies><dependency><groupId>no</groupId><artifactId>no</artifactId></dependency></dependencies></project>"
        )
    };
    let parent =
        "<parent><groupId>org.example</groupId><artifactId>parent</artifactId><version>7</version></parent>";
    let cases = [
        (
            "whole",
            xml("<groupId>org.example</groupId><artifactId>lib</artifactId><version>1.2</version>"),
            None,
            "@1.2",
        ),
        ("of the parent", xml(&format!("{parent}<artifactId>lib</artifactId>")), None, "@7"),
        (
            "variables",
            xml("<artifactId>lib</artifactId><version>${revision}</version>"),
            Some("version=1.3\n"),
            "@1.3",
        ),
        ("broken", "<project><artifactId>lib</artifactId><version>1.4</version><a".into(), None, "@1.4"),
        ("blanks", xml("<artifactId>\n lib\n</artifactId><version><![CDATA[1.5]]></version>"), None, "@1.5"),
        ("no xml", "text".into(), Some("version = 1.6\ngroupId = org.example\nartifactId = lib\n"), "@1.6"),
        ("only the path", "text".into(), Some("version=${project.version}\n"), ""),
    ];
    for (case, xml, properties, expected) in cases {
        let (one, two) = (format!("{DIRECTORY}/pom.xml"), format!("{DIRECTORY}/pom.properties"));
        let mut entries = vec![(one.as_str(), xml.as_bytes())];
        entries.extend(properties.map(|text| (two.as_str(), text.as_bytes())));
        let expected = [format!("pkg:maven/org.example/lib{expected}")];
        for name in ["lib.jar", "other.jar"] {
            assert_eq!(purls(&scan_file(name, &build::zip(&entries))), expected, "{case}");
        }
        entries.reverse();
        assert_eq!(purls(&scan_file("lib.jar", &build::zip(&entries))), expected, "{case}, reversed");
    }
}

#[test]
fn an_archive_with_others_in_it_is_one_more() {
    let shaded = (
        "META-INF/maven/org.jctools/core/pom.properties",
        b"version=4.0\ngroupId=org.jctools\nartifactId=core\n".as_slice(),
    );
    let own = (
        "META-INF/maven/io.netty/netty-common/pom.xml",
        b"<project><version>4.1</version></project>".as_slice(),
    );
    let netty: &[u8] = b"Bundle-SymbolicName: io.netty.common\n";
    let app: &[u8] = b"Implementation-Title: shop\nImplementation-Vendor-Id: com.example\n";
    type Entries<'a> = Vec<(&'a str, &'a [u8])>;
    let cases: [(&str, &[u8], Entries<'_>, &[&str]); 4] = [
        (
            "netty-common-4.1.jar",
            netty,
            vec![own, shaded],
            &["io.netty/netty-common@4.1", "org.jctools/core@4.0"],
        ),
        ("renamed.jar", netty, vec![own, shaded], &["io.netty/netty-common@4.1", "org.jctools/core@4.0"]),
        ("shop-2.jar", app, vec![shaded], &["com.example/shop@2", "org.jctools/core@4.0"]),
        ("any.jar", b"", vec![shaded], &["org.jctools/core@4.0"]),
    ];
    for (file, manifest, mut entries, expected) in cases {
        entries.push(("META-INF/MANIFEST.MF", manifest));
        let expected: Vec<String> = expected.iter().map(|name| format!("pkg:maven/{name}")).collect();
        assert_eq!(purls(&scan_file(file, &build::zip(&entries))), expected, "{file}");
    }
}

/// Longer than what is kept.
fn scan_long(path: &str, archive: &[u8]) -> crate::Sbom {
    let limits = Limits { file_bytes: 2000, ..Limits::default() };
    assert!(archive.len() > 2000);
    scan_within(&[build::tar(&[(path, archive)])], limits)
}

/// What no compression makes shorter.
fn filler() -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..200_000).map(|_| next()).collect()
}

#[test]
fn archives_too_long_to_be_kept() {
    let filler = filler();
    let pom = b"version=1\ngroupId=g.h\nartifactId=a\n".as_slice();
    let inner = build::zip(&[("META-INF/maven/g.h/b/pom.xml", b"<project><version>2</version></project>")]);
    let entries = [
        ("x/A.class", filler.as_slice()),
        ("META-INF/maven/g.h/a/pom.properties", pom),
        ("=lib/b.jar", &inner),
        ("empty", b""),
        ("y", filler.as_slice()),
        ("lib/c-3.jar", &build::zip(&[])),
    ];
    let expected = ["pkg:maven/c/c@3", "pkg:maven/g.h/a@1", "pkg:maven/g.h/b@2"];
    for (mark, long) in [(true, false), (false, false), (true, true), (false, true)] {
        let archive = build::zip_streamed(&entries, mark, long);
        for front in ["", "#!/bin/bash\nexec java -jar $0\n"] {
            let sbom = scan_long("app.jar", &[front.as_bytes(), &archive].concat());
            assert_eq!((purls(&sbom), kinds(&sbom)), (expected.to_vec(), vec![]), "{mark} {long} {front}");
        }
    }
    let known: Vec<(&str, &[u8])> =
        entries.iter().map(|(name, content)| (name.trim_start_matches('='), *content)).collect();
    let sbom = scan_long("app.war", &build::zip(&known));
    assert_eq!((purls(&sbom), kinds(&sbom)), (expected.to_vec(), vec![]));
}

#[test]
fn long_archives_that_are_broken() {
    let filler = filler();
    let pom = ("META-INF/maven/g/a/pom.properties", b"version=1\ngroupId=g\nartifactId=a\n".as_slice());
    let whole = build::zip_streamed(&[pom, ("y", &filler)], true, false);
    let bomb = build::zip_streamed(&[pom, ("y", &vec![0; 8 << 20])], true, false);
    let mut method = build::zip(&[("z", b"z"), ("y", &filler)]);
    method[8] = 99;
    let wanted = method.len();
    let mut wanted = build::zip(&[pom, ("y", &filler)])[..wanted].to_vec();
    wanted[8] = 99;
    let cases: [(&str, Vec<u8>, &[FindingKind]); 5] = [
        ("cut off", whole[..whole.len() - 30].to_vec(), &[FindingKind::Truncated]),
        ("a bomb", bomb, &[FindingKind::ArchiveTooLarge]),
        (
            "no archive",
            [b"PK\x03\x04", filler.as_slice()].concat(),
            &[FindingKind::Truncated, FindingKind::Malformed],
        ),
        ("a method that nobody knows", wanted, &[FindingKind::Unsupported]),
        ("the same, of what nobody asks for", method, &[]),
    ];
    for (case, archive, expected) in cases {
        let sbom = scan_long("a.jar", &archive);
        assert!(kinds(&sbom).len() == usize::from(!expected.is_empty()), "{case}: {:?}", sbom.findings);
        assert!(kinds(&sbom).iter().all(|kind| expected.contains(kind)), "{case}: {:?}", sbom.findings);
    }
}
