//! The language of a file, by its name.

/// The language, in lower case; `None` when the name does not tell.
pub(super) fn of(path: &str) -> Option<&'static str> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let by_name = match name {
        "Makefile" | "GNUmakefile" => Some("make"),
        "Dockerfile" | "Containerfile" => Some("dockerfile"),
        "CMakeLists.txt" => Some("cmake"),
        _ => None,
    };
    by_name.or_else(|| {
        by_extension(
            &name
                .rsplit_once('.')
                .filter(|(stem, _)| !stem.is_empty())?
                .1
                .to_ascii_lowercase(),
        )
    })
}

fn by_extension(extension: &str) -> Option<&'static str> {
    Some(match extension {
        "rs" => "rust",
        "py" | "pyi" => "python",
        "js" | "mjs" | "cjs" | "jsx" => "javascript",
        "ts" | "mts" | "cts" | "tsx" => "typescript",
        "go" => "go",
        "c" | "h" => "c",
        "cc" | "cpp" | "cxx" | "hpp" | "hh" | "hxx" => "cpp",
        "cs" => "csharp",
        "fs" | "fsx" => "fsharp",
        "java" => "java",
        "kt" | "kts" => "kotlin",
        "scala" => "scala",
        "rb" => "ruby",
        "php" => "php",
        "swift" => "swift",
        "zig" => "zig",
        "ex" | "exs" => "elixir",
        "erl" | "hrl" => "erlang",
        "hs" => "haskell",
        "ml" | "mli" => "ocaml",
        "clj" | "cljs" => "clojure",
        "lua" => "lua",
        "pl" | "pm" => "perl",
        "r" => "r",
        "jl" => "julia",
        "dart" => "dart",
        "sh" | "bash" | "zsh" => "shell",
        "ps1" => "powershell",
        "sql" => "sql",
        "html" | "htm" => "html",
        "css" => "css",
        "scss" | "sass" => "sass",
        "vue" => "vue",
        "svelte" => "svelte",
        "json" | "jsonl" | "ndjson" => "json",
        "toml" => "toml",
        "yaml" | "yml" => "yaml",
        "xml" | "xsd" | "svg" => "xml",
        "md" | "markdown" => "markdown",
        "rst" => "restructuredtext",
        "tex" => "latex",
        "txt" => "text",
        "csv" => "csv",
        "proto" => "protobuf",
        "tf" => "terraform",
        "nix" => "nix",
        "cmake" => "cmake",
        "mk" => "make",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_tell_the_language() {
        for (path, language) in [
            ("src/main.rs", Some("rust")),
            ("A.PY", Some("python")),
            ("a/Makefile", Some("make")),
            (".gitignore", None),
            ("README", None),
            ("dir.rs/file", None),
        ] {
            assert_eq!(super::of(path), language, "{path}");
        }
    }
}
