"""Who pays: months as tables, pages and FOCUS files, shared costs, scheduled exports."""
