//! How tools write "this file, this line, this complaint" on one line: the grammars, as data.
//!
//! The first grammar that fits a line wins, so the peculiar ones stand first and the plain `path:line: text` last. Groups: `p` path,
//! `l` line, `c` column, `r` rule, `m` message, `s` severity. A grammar never names a tool from a word in the text alone.
//!
//! Read next: `name.rs` (which tool, where several write alike), `blocks.rs` (complaints that take several lines).

use crate::verdict::Category;

/// How a grammar's tool is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// Only this tool writes so.
    Is(&'static str),
    /// One of the Python linters with codes such as `F401`.
    PythonCode,
    /// golint, go vet, staticcheck, golangci-lint or the Go compiler.
    Go,
    /// A C-like compiler, clang-tidy or a tool that imitates them.
    Compiler,
    /// MSBuild and what runs under it.
    MsBuild,
    /// `path:line: text` and nothing else to go by.
    Plain,
}

/// One way of writing a complaint.
pub struct Grammar {
    /// Who writes so.
    pub writer: Writer,
    /// What kind of failure it is, unless the writer's name says better.
    pub category: Category,
    /// Anchored at the start of the line, after leading blanks.
    pub pattern: &'static str,
}

const fn lint(tool: &'static str, pattern: &'static str) -> Grammar {
    Grammar {
        writer: Writer::Is(tool),
        category: Category::Lint,
        pattern,
    }
}

const fn typed(tool: &'static str, pattern: &'static str) -> Grammar {
    Grammar {
        writer: Writer::Is(tool),
        category: Category::Type,
        pattern,
    }
}

const fn build(tool: &'static str, pattern: &'static str) -> Grammar {
    Grammar {
        writer: Writer::Is(tool),
        category: Category::Build,
        pattern,
    }
}

const fn by(writer: Writer, category: Category, pattern: &'static str) -> Grammar {
    Grammar {
        writer,
        category,
        pattern,
    }
}

/// Stands in a pattern for a path without blanks, a drive letter allowed.
pub const PATH: &str = r"(?P<p>(?:[A-Za-z]:[\\/])?[\w.@~+/\\\-$\[\]()=#]+)";

/// The grammars; `PATH` is written `{path}`.
#[rustfmt::skip]
pub static GRAMMARS: &[Grammar] = &[
    // Security linters.
    lint("bandit", r"{path}:(?P<l>\d+): (?P<r>B\d{3})\[bandit\]: (?P<s>\w+): (?P<m>.+)"),
    lint("brakeman", r"(?P<p>\S+\.(?:rb|erb|haml|slim))\s+(?P<l>\d+)\s{2,}(?P<r>\S.*?)\s{2,}(?P<m>.*?)\s+(?:High|Medium|Weak)\s*$"),
    lint("gosec", r"\[{path}:(?P<l>\d+)(?:-\d+)?(?::(?P<c>\d+))?\] - (?P<r>G\d+) ?(?:\(CWE-\d+\))?:? ?(?P<m>.+)"),
    // Ruby, whose linters mark their own.
    lint("sorbet", r"{path}:(?P<l>\d+): (?P<m>.+) https://srb\.help/(?P<r>\d+)"),
    lint("reek", r"{path}:(?P<l>\d+)(?:, \d+)*: (?P<r>\w+): (?P<m>.+) \[https://github\.com/troessner/reek"),
    lint("standardrb", r"{path}:(?P<l>\d+):(?P<c>\d+): (?P<r>[A-Z]\w+(?:/[A-Z]\w+)+): (?P<m>.+)"),
    lint("rubocop", r"{path}:(?P<l>\d+):(?P<c>\d+): (?P<s>[CWEFRI]): (?:\[Corre\w+\] )?(?:(?P<r>[A-Z]\w+(?:/[A-Z]\w+)+): )?(?P<m>.+)"),
    lint("haml-lint", r"(?P<p>[^\s:]+\.haml):(?P<l>\d+) \[(?P<s>[WE])\] (?:(?P<r>\w+): )?(?P<m>.+)"),
    lint("slim-lint", r"(?P<p>[^\s:]+\.slim):(?P<l>\d+) \[(?P<s>[WE])\] (?:(?P<r>\w+): )?(?P<m>.+)"),
    lint("erb-lint", r"(?P<p>[^\s:]+\.erb):(?P<l>\d+):(?P<c>\d+): (?P<m>.+)"),
    lint("fasterer", r"(?P<p>[^\s:]+\.rb):(?P<l>\d+) (?P<m>.+ is slower than .+)"),
    lint("erb-lint", r"In file: (?P<p>[^\s:]+\.erb):(?P<l>\d+)(?P<m>)"),
    // Shells, containers, configuration.
    lint("hadolint", r"{path}:(?P<l>\d+) (?P<r>(?:DL|SC)\d{4}) (?:(?P<s>error|warning|info|style):? )?(?P<m>.+)"),
    lint("shellcheck", r"{path}:(?P<l>\d+):(?P<c>\d+): (?P<s>note|warning|error|style|info): (?P<m>.+) \[(?P<r>SC\d{4})\]"),
    lint("dotenv-linter", r"(?P<p>[^\s:]*\.env[\w.\-]*):(?P<l>\d+):? (?:(?P<r>[A-Z][A-Za-z]+): )?(?P<m>.+)"),
    lint("protolint", r"\[(?P<p>[^\s:\]]+\.proto):(?P<l>\d+):(?P<c>\d+)\] (?P<m>.+)"),
    lint("buf", r"(?P<p>[^\s:]+\.proto):(?P<l>\d+):(?P<c>\d+): ?(?P<m>.+)"),
    lint("yamllint", r"(?P<p>[^\s:]+):(?P<l>\d+):(?P<c>\d+): \[(?P<s>error|warning)\] (?P<m>.+?)(?: \((?P<r>[\w\-]+)\))?\s*$"),
    lint("actionlint", r"(?P<p>\S*\.github/workflows/[\w.\-]+|[\w./\-]+\.ya?ml):(?P<l>\d+):(?P<c>\d+): (?P<m>.+) \[(?P<r>[a-z][a-z\-]+)\]\s*$"),
    lint("ansible-lint", r"(?P<p>[\w./\-]+\.ya?ml):(?P<l>\d+)(?::(?P<c>\d+))?: (?:\[E?\d+\] )?(?P<r>[a-z][a-z\-]+(?:\[[\w\-]+\])?|\[?[EW]?\d{3}\]?): ?(?P<m>.+)"),
    lint("ansible-lint", r"(?P<p>[\w./\-]+\.ya?ml):(?P<l>\d+)(?::(?P<c>\d+))?: \[(?P<r>[EW]?\w+)\] (?P<m>.+)"),
    lint("cfn-lint", r"{path}:(?P<l>\d+):(?P<c>\d+):\d+:\d+:(?P<r>[EWI]\d{4}):(?P<m>.+)"),
    lint("buildifier", r"{path}:(?P<l>\d+):(?P<c>\d+): (?P<r>[a-z\-]+): (?P<m>.+ \(https://github\.com/bazelbuild/.+)"),
    lint("tflint", r"(?P<p>[^\s:]+\.tf):(?P<l>\d+):(?P<c>\d+): (?P<s>Error|Warning|Notice) - (?P<m>.+?)(?: \((?P<r>\w+)\))?\s*$"),
    lint("puppet-lint", r"{path} - (?P<s>WARNING|ERROR): (?P<m>.+) on line (?P<l>\d+)"),
    lint("puppet-lint", r"(?P<p>[^\s:]+\.pp):(?P<l>\d+)(?::(?P<c>\d+))?:\s?(?P<s>WARNING|ERROR|warning|error)?:? ?(?P<m>.+)"),
    // Prose.
    lint("markdownlint", r"(?P<p>[^\s:]+):(?P<l>\d+)(?::(?P<c>\d+))? (?:error |warning )?(?P<r>MD\d{3})(?:/[\w/\-]+)? (?P<m>.+)"),
    lint("mdl", r"(?P<p>[^\s:]+):(?P<l>\d+): (?P<r>MD\d{3}) (?P<m>.+)"),
    lint("doc8", r"(?P<p>[^\s:]+\.(?:rst|txt)):(?P<l>\d+): (?P<r>D\d{3}) (?P<m>.+)"),
    lint("codespell", r"(?P<p>[^\s:]+):(?P<l>\d+): (?P<m>\S+ ==> .+)"),
    lint("typos", r"(?P<p>[^\s:]+):(?P<l>\d+):(?P<c>\d+): (?P<m>`.+` -> `.+`)"),
    lint("gitlint", r"(?P<l>\d+): (?P<r>[A-Z]{1,2}\d{1,2}) (?P<m>.+)"),
    // JavaScript and style sheets.
    lint("eslint", r"{path}: line (?P<l>\d+), col (?P<c>\d+), (?P<s>Error|Warning) - (?P<m>.+?)(?: \((?P<r>[@\w/\-]+)\))?\s*$"),
    lint("eslint", r"{path}:(?P<l>\d+):(?P<c>\d+): (?P<m>.+) \[(?P<s>Error|Warning)/(?P<r>[@\w/\-]+)\]"),
    lint("jshint", r"{path}: line (?P<l>\d+), col (?P<c>\d+), (?P<m>.+)"),
    lint("tslint", r"(?:(?P<s>ERROR|WARNING): )?(?:\([\w\-]+\) )?(?P<p>[^\s\[]+\.tsx?)\[(?P<l>\d+), ?(?P<c>\d+)\]: (?P<m>.+)"),
    lint("tslint", r"(?P<s>ERROR|WARNING): (?P<p>\S+\.tsx?):(?P<l>\d+):(?P<c>\d+) - (?P<m>.+)"),
    typed("tsc", r"(?P<p>[^\s(]+)\((?P<l>\d+),(?P<c>\d+)\): (?P<s>error|warning) (?P<r>TS\d+): (?P<m>.+)"),
    typed("tsc", r"(?P<p>[^\s:]+):(?P<l>\d+):(?P<c>\d+) - (?P<s>error|warning) (?P<r>TS\d+): (?P<m>.+)"),
    lint("standardjs", r"(?P<p>\S+\.(?:[cm]?jsx?|tsx?)):(?P<l>\d+):(?P<c>\d+): (?P<m>.+?) \((?P<r>[@\w/\-]+)\)\s*$"),
    lint("coffeelint", r"(?P<p>\S+\.coffee)[:,](?P<l>\d+)[:,](?:(?P<c>\d*),)?\s?(?P<s>error|warn(?:ing)?)?[:,]?\s?(?P<m>.+)"),
    // Python.
    typed("mypy", r"(?P<p>[^\s:]+\.pyi?):(?P<l>\d+)(?::(?P<c>\d+))?(?::\d+:\d+)?: (?P<s>error|warning|note): (?P<m>.+?)(?:  \[(?P<r>[\w\-]+)\])?\s*$"),
    typed("pyright", r"(?P<p>\S+\.pyi?):(?P<l>\d+):(?P<c>\d+) - (?P<s>error|warning|information): (?P<m>.+?)(?: \((?P<r>report\w+)\))?\s*$"),
    lint("pylint", r"(?P<p>[^\s:]+\.pyi?):(?P<l>\d+)(?::(?P<c>\d+))?: \[?(?P<s>[CRWEFI])\d{4}(?:\((?P<r>[\w\-]+)\))?[,:\]].*? (?P<m>.+)"),
    lint("vulture", r"(?P<p>[^\s:]+\.py):(?P<l>\d+): (?P<m>.+ \(\d+% confidence\))"),
    by(Writer::PythonCode, Category::Lint, r"(?P<p>[^\s:]+(?:\.pyi?|\.ipynb)(?::cell \d+)?):(?P<l>\d+):(?:(?P<c>\d+):)? (?P<r>[A-Z]{1,4}\d{2,5}) (?P<m>.+)"),
    // PHP.
    lint("psalm", r"(?P<p>[^\s:]+\.php):(?P<l>\d+):(?P<c>\d+):\s?(?P<s>error|warning|info) - (?P<r>\w+): (?P<m>.+)"),
    lint("psalm", r"(?P<s>ERROR|INFO): (?P<r>\w+) - (?P<p>[^\s:]+\.php):(?P<l>\d+):(?P<c>\d+) - (?P<m>.+)"),
    lint("phpcs", r"(?P<p>[^\s:]+\.php):(?P<l>\d+):(?P<c>\d+): (?P<s>error|warning) - (?P<m>.+)"),
    build("php", r"(?:PHP )?Parse error:\s+(?P<m>.+) in (?P<p>\S+) on line (?P<l>\d+)"),
    lint("phpstan", r"(?P<p>[^\s:]+\.php):(?P<l>\d+):(?P<m>\S.+)"),
    // JVM.
    lint("ktlint", r"(?P<p>[^\s:]+\.kts?):(?P<l>\d+):(?P<c>\d+): (?P<m>.+?)(?: \((?P<r>[\w:\-]+)\))\s*$"),
    lint("detekt", r"(?P<p>[^\s:]+\.kts?):(?P<l>\d+):(?P<c>\d+): (?P<m>.+) \[(?P<r>\w+)\]\s*$"),
    lint("detekt", r"(?P<r>[A-Z]\w+) - .*?at (?P<p>[^\s:]+\.kts?):(?P<l>\d+):(?P<c>\d+)(?P<m>.*)"),
    lint("ktlint", r"(?P<p>[^\s:]+\.kts?):(?P<l>\d+):(?P<c>\d+): (?P<m>[A-Z].+)"),
    build("kotlinc", r"(?P<s>e|w): (?:file://)?(?P<p>[^\s:]+\.kts?):? ?\(?(?P<l>\d+)[,:] ?(?P<c>\d+)\)?:? (?P<m>.+)"),
    lint("scalastyle", r"(?P<s>error|warning) file=(?P<p>.+?) message=(?P<m>.+?)(?: line=(?P<l>\d+))?(?: column=(?P<c>\d+))?\s*$"),
    lint("scalastyle-or-scalac", r"\[(?P<s>error|warn)\] (?P<p>[^\s:]+\.scala)(?::(?P<l>\d+))?(?::(?P<c>\d+))?: (?P<m>.+)"),
    build("scalac", r"(?P<p>[^\s:]+\.scala):(?P<l>\d+)(?::(?P<c>\d+))?: (?P<s>error|warning): (?P<m>.+)"),
    lint("checkstyle", r"\[(?P<s>WARN|ERROR|WARNING)\] (?P<p>[^\s:\[]+\.\w+):\[?(?P<l>\d+)[,:]?(?P<c>\d+)?\]?:? ?\(\w+\) (?P<r>\w+): (?P<m>.+)"),
    lint("checkstyle", r"\[(?P<s>WARN|ERROR|WARNING)\] (?P<p>[^\s:\[]+\.\w+):(?P<l>\d+)(?::(?P<c>\d+))?: (?P<m>.+) \[(?P<r>\w+)\]\s*$"),
    build("javac", r"\[(?P<s>ERROR|WARNING)\] (?P<p>[^\s:\[]+\.(?:java|groovy)):\[?(?P<l>\d+)[,:] ?(?P<c>\d+)\]?:? ?(?P<m>.+)"),
    build("javac", r"(?:\[javac\] )?(?P<p>[^\s:]+\.java):(?P<l>\d+): (?P<s>error|warning): (?:\[(?P<r>\w+)\] )?(?P<m>.+)"),
    lint("pmd", r"(?P<p>[^\s:]+\.(?:java|cls|xml|jsp)):(?P<l>\d+):\s+(?P<r>[A-Z]\w+):\s+(?P<m>.+)"),
    // Haskell, Lua, Elixir, Erlang, Clojure, Nim, Crystal, OCaml, Vim, R, Perl.
    lint("hlint", r"(?P<p>[^\s:]+\.l?hs):\(?(?P<l>\d+)[:,](?P<c>\d+)\)?(?:-[\d:(),]+)?: (?P<s>Suggestion|Warning|Error|Ignore): (?P<m>.+)"),
    build("ghc", r"(?P<p>[^\s:]+\.l?hs):(?P<l>\d+):(?P<c>\d+)(?:-\d+)?: (?P<s>error|warning):? ?(?P<m>.*)"),
    lint("luacheck", r"(?P<p>[^\s:]+\.lua):(?P<l>\d+):(?P<c>\d+)(?:-\d+)?: (?:\((?P<r>[EW]\d+)\) )?(?P<m>.+)"),
    lint("credo", r"(?P<p>[^\s:]+\.exs?):(?P<l>\d+)(?::(?P<c>\d+))?: (?P<r>[RFCWD]): (?P<m>.+)"),
    lint("credo", r"\[(?P<r>[RFCWD])\] \S+ (?P<p>[^\s:]+\.exs?):(?P<l>\d+)(?::(?P<c>\d+))? (?P<m>.+)"),
    lint("clj-kondo", r"(?P<p>[^\s:]+\.(?:clj[cs]?|edn)):(?P<l>\d+):(?P<c>\d+): (?P<s>error|warning|info): (?P<m>.+)"),
    build("nim", r"(?P<p>[^\s(]+\.nims?)\((?P<l>\d+), (?P<c>\d+)\) (?P<s>Error|Warning|Hint): (?P<m>.+)"),
    lint("vint", r"(?P<p>[^\s:]*\.?vim(?:rc)?):(?P<l>\d+):(?P<c>\d+): (?P<m>.+)"),
    lint("lintr", r"(?P<p>[^\s:]+\.(?:R|r|Rmd)):(?P<l>\d+):(?P<c>\d+): (?P<s>style|warning|error): (?:\[(?P<r>\w+)\] )?(?P<m>.+)"),
    lint("perlcritic", r"(?P<p>[^\s:]+\.p[lm]):(?P<l>\d+):(?P<c>\d+):\s?(?P<m>.+)"),
    // Swift, D, Fortran, hardware.
    lint("swiftlint", r"(?P<p>[^\s:]+\.swift):(?P<l>\d+)(?::(?P<c>\d+))?: (?P<s>error|warning): (?P<m>.+ Violation: .+?)(?: \((?P<r>\w+)\))?\s*$"),
    lint("verilator", r"%(?P<s>Warning|Error)(?:-(?P<r>\w+))?: (?P<p>[^\s:]+):(?P<l>\d+)(?::(?P<c>\d+))?: (?P<m>.+)"),
    // Go.
    by(Writer::Go, Category::Lint, r"(?:vet: )?(?P<p>[^\s:]+\.go):(?P<l>\d+)(?::(?P<c>\d+))?: (?P<m>.+)"),
    // C and its family, and tools that write like it.
    lint("cpplint", r"(?P<p>[^\s:]+\.(?:c|h|cc|hh|cpp|hpp|cxx|cu|cuh)):(?P<l>\d+):\s+(?P<m>.+)  \[(?P<r>[\w/+]+)\] \[\d\]"),
    lint("cppcheck", r"\[{path}:(?P<l>\d+)(?::(?P<c>\d+))?\](?: -> \[.+\])?: \((?P<s>error|warning|style|performance|portability|information)\) (?P<m>.+)"),
    by(Writer::MsBuild, Category::Build, r"(?P<p>.+?)\((?P<l>\d+)(?:,(?P<c>\d+))?(?:[,-]\d+)*\) ?: (?:fatal )?(?P<s>error|warning) ?(?P<r>[A-Z]+\d+)?: (?P<m>.+)"),
    by(Writer::Compiler, Category::Build, r"{path}:(?P<l>\d+)(?::(?P<c>\d+))?: (?:fatal |internal compiler |catastrophic )?(?P<s>error|warning|Error|Warning)(?:\[(?P<r>\w+)\])?: (?P<m>.+)"),
    // The rest: a path with an extension, a line, a text.
    by(Writer::Plain, Category::Lint, r"(?P<p>(?:[A-Za-z]:[\\/])?[\w.@~+/\\\-]*[\w\-]\.[A-Za-z][\w]{0,9}):(?P<l>\d+)(?::(?P<c>\d+))?:? (?:(?P<s>error|warning|Error|Warning|ERROR|WARNING)\b:? ?)?(?P<m>\S.+)"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_grammar_compiles_and_has_a_path_a_line_and_a_message() {
        for grammar in GRAMMARS {
            let regex = regex::bytes::Regex::new(&grammar.pattern.replace("{path}", PATH)).expect(grammar.pattern);
            let names: Vec<&str> = regex.capture_names().flatten().collect();
            let has = |name: &str| names.contains(&name);
            assert!(
                has("l") && has("m") && (has("p") || grammar.writer == Writer::Is("gitlint")),
                "{}",
                grammar.pattern
            );
        }
    }
}
