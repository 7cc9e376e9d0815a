//! State that functions share, in memory beside them: values are lattices, caches hold what is hot, and a session
//! gives an invocation or a DAG its level of consistency. After Cloudburst (Sreekanti et al., VLDB 2020).
