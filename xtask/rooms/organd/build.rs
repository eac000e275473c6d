//! Links the engine into the two programs and their tests, where it is asked for.

use std::env;

fn main() {
    println!("cargo::rerun-if-env-changed=ORGAN_ENGINE");
    println!("cargo::rustc-check-cfg=cfg(engine)");
    if env::var_os("CARGO_FEATURE_LLAMA").is_none() {
        return;
    }
    let Ok(dir) = env::var("ORGAN_ENGINE") else {
        println!(
            "cargo::error=feature llama: ORGAN_ENGINE is not set; next: set it to the folder that cargo xtask room engine prints"
        );
        return;
    };
    println!("cargo::rerun-if-changed={dir}");
    let features = env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    let is_static = features.split(',').any(|it| it == "crt-static");
    // A measurement asks for the newer set.
    println!("cargo::rerun-if-env-changed=ORGAN_SET");
    let tested = env::var("ORGAN_SET").unwrap_or_else(|_| "baseline".to_owned());
    // Each program has a set of its own, so that one build makes both.
    let programs = [
        ("bin=organd", "baseline"),
        ("bin=organd-v3", "v3"),
        ("tests", tested.as_str()),
    ];
    for (of, set) in programs {
        let kind = match of.split_once('=') {
            Some((kind, name)) => format!("link-arg-{kind}={name}="),
            None => format!("link-arg-{of}="),
        };
        let libraries = [
            format!("{dir}/{set}/liborgan.a"),
            format!("{dir}/{set}/libstdc++.a"),
        ];
        // Before this the compiler has said that what follows may be shared.
        let fixed = is_static.then(|| "-Wl,-Bstatic".to_owned());
        let group = fixed.into_iter().chain(["-Wl,--start-group".to_owned()]);
        let group = group.chain(libraries);
        let group =
            group.chain(["-lm", "-lc", "-lgcc_eh", "-lgcc", "-Wl,--end-group"].map(str::to_owned));
        for argument in group {
            println!("cargo::rustc-{kind}{argument}");
        }
    }
}
