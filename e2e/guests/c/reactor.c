/* A reactor: it exports a function to call and has no _start to run. */
__attribute__((export_name("answer"))) int answer(void) { return 42; }
